// SPDX-License-Identifier: Apache-2.0
// Put before a kernel source (compiler option -include): the intrinsics of AMX and AVX512-BF16 that it names become
// the emulated ones.
#pragma once

#include <immintrin.h>

#include "emulated/dot_bf16.h"
#include "emulated/tiles.h"

#undef _tile_loadd
#undef _tile_stream_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbusd
#undef _tile_dpbuud

#define _tile_loadconfig(config) moekit::emulated::tile_loadconfig(config)
#define _tile_release() moekit::emulated::tile_release()
#define _tile_loadd(tile, base, stride) moekit::emulated::tile_loadd(tile, base, stride)
#define _tile_stream_loadd(tile, base, stride) moekit::emulated::tile_loadd(tile, base, stride)
#define _tile_stored(tile, base, stride) moekit::emulated::tile_stored(tile, base, stride)
#define _tile_zero(tile) moekit::emulated::tile_zero(tile)
#define _tile_dpbf16ps(c, a, b) moekit::emulated::tile_dpbf16ps(c, a, b)
#define _tile_dpbssd(c, a, b) moekit::emulated::tile_dpbssd(c, a, b)
#define _tile_dpbsud(c, a, b) moekit::emulated::tile_dpbsud(c, a, b)
#define _tile_dpbusd(c, a, b) moekit::emulated::tile_dpbusd(c, a, b)
#define _tile_dpbuud(c, a, b) moekit::emulated::tile_dpbuud(c, a, b)
#define _mm512_dpbf16_ps(c, a, b) moekit::emulated::dpbf16_ps(c, a, b)
#define _mm512_cvtne2ps_pbh(high, low) moekit::emulated::cvtne2ps_pbh(high, low)
