#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the checks of nvcc's output: each must see what it is there for."""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import check_registers
import check_sass
from ptxas_report import Kernel, read_folder, read_report
from sass import find_cuobjdump, parse

REPORT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'fast' for 'sm_80'
ptxas info    : Function properties for fast
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 256 bytes smem, 384 bytes cmem[0]
ptxas info    : Compile time = 1.371 ms
ptxas info    : Compiling entry function 'fast' for 'sm_100'
ptxas info    : Function properties for fast
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers
"""
SASS = """
\t.target\tsm_90

\t\tFunction : fast
        /*0000*/                   LDC R1, c[0x0][0x28] ;                     /* 0x00000a00ff017b82 */
                                                                              /* 0x000fe40000000f00 */
        /*0010*/              @!P0 LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;  /* 0x0 */
        /*0020*/             @!UP0 HMMA.16816.F32.BF16 R8, R4, R6, R8 ;       /* 0x0 */
        /*0030*/                   STL.64 [R1], R8 ;                          /* 0x0 */
\t.target\tsm_100
\t\tFunction : fast
        /*0000*/                   EXIT ;                                     /* 0x0 */
"""


class Reports(unittest.TestCase):
    def test_numbers(self):
        kernels = read_report(REPORT)
        self.assertEqual(kernels["fast", "80"], Kernel(32, 0, 0, 0, 256))
        self.assertEqual(kernels["fast", "100"], Kernel(40, 16, 8, 12, 0))

    def test_a_cut_report_is_an_error(self):
        with self.assertRaises(ValueError):
            read_report("\n".join(REPORT.splitlines()[:4]))
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ValueError):
                read_folder(Path(folder))
            (Path(folder) / "x.ptxas").write_text("nothing")
            with self.assertRaises(ValueError):
                read_folder(Path(folder))


class Registers(unittest.TestCase):
    def setUp(self):
        self.kernels = read_report(REPORT)
        self.budget = {("fast", "80"): 32, ("fast", "100"): 40}

    def found(self, same_release=True):
        return check_registers.violations(self.kernels, self.budget, same_release)

    def test_spills_and_stack_are_seen_with_every_compiler(self):
        for same_release in (True, False):
            found = self.found(same_release)
            self.assertEqual(len(found), 2, found)
            self.assertIn("fast on sm_100: spills 8 bytes out and 12 in", found)

    def test_a_change_is_seen(self):
        del self.kernels["fast", "100"]
        self.assertEqual(self.found(), [], "an architecture that was not compiled for is not missed")
        self.kernels["fast", "80"] = self.kernels["fast", "80"]._replace(registers=33)
        self.assertEqual(self.found(), ["fast on sm_80: 33 registers, the budget says 32"])
        self.assertEqual(self.found(same_release=False), [])

    def test_new_and_lost_kernels_are_seen(self):
        self.kernels = {("slow", "80"): Kernel(8, 0, 0, 0, 0)}
        self.assertEqual(self.found(), ["slow on sm_80: not in the budget", "fast on sm_80: in the budget, but not compiled"])

    def test_the_file_comes_back(self):
        release, budget = check_registers.read_budget(check_registers.write_budget("13.0", self.kernels))
        self.assertEqual((release, budget), ("13.0", self.budget))


class MachineCode(unittest.TestCase):
    def setUp(self):
        self.code = parse(SASS)

    def found(self, rules):
        return check_sass.violations(self.code, check_sass.read_rules(rules))

    def test_instructions(self):
        self.assertEqual(self.code["fast", "90"], ["LDC", "LDG.E.128.CONSTANT", "HMMA.16816.F32.BF16", "STL.64"])
        self.assertEqual(self.code["fast", "100"], ["EXIT"])

    def test_wanted_and_forbidden(self):
        self.assertEqual(self.found("f* + LDG.*128.*"), ["fast on sm_100: no LDG.*128.* among its 1 instructions"])
        self.assertEqual(self.found("* - (LDL|STL)(\\..*)?  # local memory"),
                         ["fast on sm_90: 1 of (LDL|STL)(\\..*)?, which it may not have"])
        self.assertEqual(self.found("* - HMMA"), [], "a modifier makes another instruction")

    def test_a_pattern_without_kernel_is_an_error(self):
        self.assertEqual(self.found("slow + EXIT"), ["slow: no kernel has such a name"])

    def test_a_line_that_is_no_rule_is_an_error(self):
        for line in ("fast EXIT", "fast ? EXIT", "fast + EXIT now"):
            with self.assertRaises(ValueError):
                check_sass.read_rules(line)

    def test_the_disassembler_is_looked_for(self):
        with tempfile.TemporaryDirectory() as site:
            wheel = Path(site) / "triton/backends/nvidia/bin"
            wheel.mkdir(parents=True)
            (wheel / "cuobjdump").touch()
            self.assertIsNotNone(find_cuobjdump("/nowhere", [site]))


if __name__ == "__main__":
    unittest.main()
