// SPDX-License-Identifier: Apache-2.0
#include "core/xxh64.h"

#include <algorithm>
#include <cstring>

namespace moekit {
namespace {

// The five primes of the specification.
constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u, kPrime2 = 0xC2B2AE3D27D4EB4Fu, kPrime3 = 0x165667B19E3779F9u,
                        kPrime4 = 0x85EBCA77C2B2AE63u, kPrime5 = 0x27D4EB2F165667C5u;

std::uint64_t rotate(std::uint64_t value, int bits) noexcept { return value << bits | value >> (64 - bits); }

// Little-endian on every host, so that a checksum is of the bytes alone.
std::uint64_t little8(const unsigned char* at) noexcept {
  std::uint64_t value;
  std::memcpy(&value, at, sizeof value);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? value : __builtin_bswap64(value);
}
std::uint32_t little4(const unsigned char* at) noexcept {
  std::uint32_t value;
  std::memcpy(&value, at, sizeof value);
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? value : __builtin_bswap32(value);
}

std::uint64_t mix(std::uint64_t lane, std::uint64_t input) noexcept {
  return rotate(lane + input * kPrime2, 31) * kPrime1;
}

std::uint64_t merge(std::uint64_t hash, std::uint64_t lane) noexcept {
  return (hash ^ mix(0, lane)) * kPrime1 + kPrime4;
}

}  // namespace

Xxh64::Xxh64() noexcept : lanes_{kPrime1 + kPrime2, kPrime2, 0, std::uint64_t{0} - kPrime1} {}

// All whole stripes of 32 bytes; answers where they end.
const unsigned char* Xxh64::stripes(const unsigned char* at, std::size_t bytes) noexcept {
  std::uint64_t a = lanes_[0], b = lanes_[1], c = lanes_[2], d = lanes_[3];
  for (; bytes >= 32; bytes -= 32, at += 32) {
    a = mix(a, little8(at));
    b = mix(b, little8(at + 8));
    c = mix(c, little8(at + 16));
    d = mix(d, little8(at + 24));
  }
  lanes_[0] = a, lanes_[1] = b, lanes_[2] = c, lanes_[3] = d;
  return at;
}

void Xxh64::update(const void* data, std::size_t bytes) noexcept {
  if (bytes == 0) return;
  const auto* at = static_cast<const unsigned char*>(data);
  const unsigned char* end = at + bytes;
  const auto held = static_cast<std::size_t>(total_ % 32);
  total_ += bytes;
  if (held != 0) {
    const std::size_t taken = std::min(bytes, 32 - held);
    std::memcpy(rest_ + held, at, taken);
    at += taken;
    if (held + taken < 32) return;
    stripes(rest_, 32);
  }
  at = stripes(at, static_cast<std::size_t>(end - at));
  std::memcpy(rest_, at, static_cast<std::size_t>(end - at));
}

std::uint64_t Xxh64::digest() const noexcept {
  std::uint64_t hash = kPrime5;
  if (total_ >= 32) {
    hash = rotate(lanes_[0], 1) + rotate(lanes_[1], 7) + rotate(lanes_[2], 12) + rotate(lanes_[3], 18);
    for (const std::uint64_t lane : lanes_) hash = merge(hash, lane);
  }
  hash += total_;
  const unsigned char* at = rest_;
  auto left = static_cast<std::size_t>(total_ % 32);
  for (; left >= 8; left -= 8, at += 8) hash = rotate(hash ^ mix(0, little8(at)), 27) * kPrime1 + kPrime4;
  if (left >= 4) {
    hash = rotate(hash ^ little4(at) * kPrime1, 23) * kPrime2 + kPrime3;
    left -= 4;
    at += 4;
  }
  for (; left > 0; --left, ++at) hash = rotate(hash ^ *at * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

std::uint64_t xxh64(const void* data, std::size_t bytes) noexcept {
  Xxh64 hash;
  hash.update(data, bytes);
  return hash.digest();
}

std::string hex64(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = "0123456789abcdef"[value & 15];
  return text;
}

}  // namespace moekit
