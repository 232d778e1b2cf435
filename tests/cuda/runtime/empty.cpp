// SPDX-License-Identifier: Apache-2.0
// A library of the driver's name that has none of its functions: what a driver of another time looks like.
extern "C" int moekit_standin_nothing() { return 0; }
