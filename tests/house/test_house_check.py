# SPDX-License-Identifier: Apache-2.0
"""Each rule of house_check.py on a small tree that keeps it and on one that breaks it."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import house_check  # noqa: E402

HEADER = "// SPDX-License-Identifier: Apache-2.0\n"
GOOD_TREE = {
    "include/moekit/core.h": HEADER,
    "include/moekit/router.h": HEADER + '#include "moekit/core.h"\n',
    "include/moekit/layer.h": HEADER + '#include "moekit/router.h"\n',
    "src/core/check.h": HEADER,
    "src/formats/format.h": HEADER + '#include "core/check.h"\n',
    "src/routing/routing.h": HEADER + '#include "moekit/router.h"\n',
    "src/backend/backend.h": HEADER + '#include "formats/format.h"\n#include "moekit/layer.h"\n',
    "src/backends/cpu/kernels.h": HEADER + '#include "backend/backend.h"\n#include "moekit_backends.inc"\n',
    "src/backends/cpu/cpu.cpp": HEADER + '#include "backends/cpu/kernels.h"\n#include "kernels.h"\n',
    "src/backends/reference/loops.h": HEADER + '#include "backend/backend.h"\n',
    "src/layer/layer.cpp": HEADER + "#include <vector>\n" + '#include "backend/backend.h"\n',
    "python/src/module.cpp": HEADER + '#include "backend/backend.h"\n#include <pybind11/pybind11.h>\n',
    "tests/core/test.cpp": HEADER + '#include "layer/anything.h"\n',
    "cmake/flags.cmake": "# SPDX-License-Identifier: Apache-2.0\n# never -ffast-math\n",
}


class HouseCheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        for name, text in GOOD_TREE.items():
            self.write(name, text)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def problems(self, check):
        return list(house_check.CHECKS[check](self.root))

    def test_good_tree_passes_every_check(self):
        for check in house_check.CHECKS:
            self.assertEqual(self.problems(check), [], check)

    def test_arrows_against_the_order_are_caught(self):
        bad = {
            "src/core/a.h": '"backend/backend.h"',                      # up the order
            "src/formats/a.h": '"routing/routing.h"',                   # rooms of equal rank
            "src/routing/a.h": '"moekit/layer.h"',                      # a public header of a later room
            "src/routing/b.h": "<moekit/layer.h>",                      # the same in angle brackets
            "src/backends/cpu/a.h": '"backends/reference/loops.h"',     # one backend knows another
            "include/moekit/device.h": '"core/check.h"',                # public knows private
            "examples/cpp/main.cpp": '"core/check.h"',                  # a user knows private
            "src/layer/a.h": '"layer/missing.h"',                       # not there
            "src/layer/b.h": '"../backend/backend.h"',                  # a path that hides the room
        "src/newroom/a.h": '"moekit/core.h"',                       # a room without a place
        }
        for name, include in bad.items():
            self.write(name, HEADER + f"#include {include}\n")
            with self.subTest(name):
                problems = self.problems("includes")
                self.assertEqual(len(problems), 1, problems)
                self.assertTrue(problems[0].startswith(f"{name}:2: "), problems)
            (self.root / name).unlink()

    def test_missing_licence_header_is_caught(self):
        for name in ("src/core/a.cpp", "scripts/a.sh", "python/moekit/a.py", "tests/CMakeLists.txt", ".ci/run"):
            self.write(name, "text\n" * 3 + HEADER)
            self.assertEqual([line.split(":")[0] for line in self.problems("spdx")], [name])
            (self.root / name).unlink()

    def test_length_limit(self):
        self.write("src/core/a.cpp", "x\n" * house_check.MAX_LINES)
        self.assertEqual(self.problems("length"), [])
        self.write("src/core/a.cpp", "x\n" * (house_check.MAX_LINES + 1))
        self.assertEqual(len(self.problems("length")), 1)

    def test_flags(self):
        for flag in ("-ffast-math", "-Ofast", "-march=native", "-funsafe-math-optimizations"):
            for name in ("cmake/a.cmake", "src/CMakeLists.txt", "CMakePresets.json", "pyproject.toml"):
                self.write(name, f"add({flag})\n")
                self.assertEqual(len(self.problems("flags")), 1, (flag, name))
                (self.root / name).unlink()

    def test_exit_status(self):
        self.assertEqual(house_check.main(["--root", str(self.root)]), 0)
        self.write("src/core/a.h", HEADER + '#include "layer/layer.cpp"\n')
        self.assertEqual(house_check.main(["--root", str(self.root), "includes"]), 1)
        self.assertEqual(house_check.main(["--root", str(self.root), "spdx"]), 0)
        with self.assertRaises(SystemExit):
            house_check.main(["nonsense"])


if __name__ == "__main__":
    unittest.main()
