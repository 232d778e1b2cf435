# SPDX-License-Identifier: Apache-2.0
"""The `moekit` command. Every sub-command is a module of this package with

    HELP                 one line
    add_arguments(parser)
    run(args) -> (facts, exit code)     facts: what --json prints
    render(facts) -> text               the same for people
"""
from __future__ import annotations

import argparse
import importlib
import json
import sys

from .. import CheckpointError, DeviceError, UnsupportedError, __version__

COMMANDS = ("doctor", "inspect", "verify", "convert", "demo", "bench", "trace")

EXIT_OK, EXIT_DIFFERS, EXIT_USAGE, EXIT_UNUSABLE = 0, 1, 2, 3
_EXIT_CODES = """exit codes:
  0    done
  1    a check did not hold (verify, demo: the backends disagree)
  2    wrong usage
  3    the input cannot be used (checkpoint, configuration, device, file)
  130  interrupted"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moekit", description="Mixture-of-Experts inference", epilog=_EXIT_CODES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"moekit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name in COMMANDS:
        module = importlib.import_module(f"{__name__}.{name}")
        sub = commands.add_parser(name, help=module.HELP, description=module.__doc__, epilog=_EXIT_CODES,
                                  formatter_class=argparse.RawDescriptionHelpFormatter,
                                  conflict_handler="resolve")  # a command may give --json a form of its own
        sub.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        module.add_arguments(sub)
        sub.set_defaults(module=module)
    return parser


def main(argv=None) -> int:
    args = _parser().parse_args(argv)
    try:
        facts, code = args.module.run(args)
        print(json.dumps(facts, indent=2) if args.json else args.module.render(facts))
        sys.stdout.flush()
        return code
    except (CheckpointError, UnsupportedError, DeviceError, ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # `moekit ... | head`
            sys.stderr.close()
            return EXIT_OK
        if args.json:
            print(json.dumps({"error": str(error), "type": type(error).__name__}))
        print(f"moekit {args.command}: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
