# SPDX-License-Identifier: Apache-2.0
"""Comparisons behind `moekit bench`: suites, timing, the machine's facts and the report. Peers are imported only when a
suite runs; one that is not installed is named as not measured."""
