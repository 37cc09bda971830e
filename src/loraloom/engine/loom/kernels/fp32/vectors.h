// What the fp32 kernels are made of: vectors of floats, the exponential, the dropout generator, and a product of small
// matrices. GCC's and clang's vector types as wide as the processor's registers, and no intrinsics: wider ones, which the
// compiler takes apart, went through memory (with AVX2 three times as slow).
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>

#include "../dropout.h"
#include "../texts.h"
#include "../threads.h"

namespace loraloom::fp32 {

using at::Tensor;
using Optional = std::optional<Tensor>;
#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;  // SSE, NEON
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));

inline Floats load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof(values));
  return values;
}
inline void store(float* to, Floats values) { std::memcpy(to, &values, sizeof(values)); }
inline Floats all(float value) { return value - Floats{}; }  // one instruction: x + 0 is not x where x is -0
inline Ints iota() {
  Ints numbers;
  for (int i = 0; i < kLanes; ++i) numbers[i] = i;
  return numbers;
}

inline float sum(Floats values) {
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) values[i] += values[i + step];
  return values[0];
}

inline float maximum(Floats values) {
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) values[i] = values[i + step] > values[i] ? values[i + step] : values[i];
  return values[0];
}

// e^x for x <= 0, to 2^-22 of it: 2^n times Cephes' polynomial of degree 7 for the rest. What is below -60 counts as -60,
// 9e-27: results that are denormal, or become so times a gradient, would cost a hundred cycles each. NaN stays NaN.
inline Floats exponential(Floats x) {
  x = x < -60.f ? all(-60.f) : x;
  const Floats magic = all(12582912.f);  // 1.5 * 2^23: a sum with it is rounded to a whole number
  const Floats n = (x * 1.44269504f + magic) - magic;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats y = r * 1.9875691500e-4f + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * (r * r) + r + 1.f;
  return y * reinterpret_cast<Floats>((__builtin_convertvector(n, Ints) + 127) << 23);
}

// Which elements stay, from their index and two keys alone: the bits of `noise.py` and of `primitives.h: Dropout`.
struct Dropout : DropoutKeys {
  using DropoutKeys::DropoutKeys;

  // Of elements whose indices are start, start + 1, ...: `scale` for those that stay, 0 for the others.
  Floats factors(uint32_t start) const {
    Words x = (reinterpret_cast<Words>(iota()) + start) ^ key0;
    x ^= x >> 16;
    x *= 0x21f0aaadu;
    x ^= key1;
    x ^= x >> 15;
    x *= 0x735a2d97u;
    x ^= x >> 15;
    return x >= threshold ? all(scale) : Floats{};
  }
};

// ------------------------------------------------------------------------------------------- products of small matrices

constexpr int kTall = 6, kWide = 2;  // rows of C and vectors of a row at once: as many sums as 16 registers hold

// C (tall, wide vectors) = [C +] A B, A's element (i, k) at a[i * a_row + k * a_step], so that A may be a transpose.
template <int tall, int wide>
inline __attribute__((always_inline)) void tile(const float* a, int64_t a_row, int64_t a_step, const float* b,
                                                int64_t b_row, int64_t depth, float* c, int64_t c_row, bool add) {
  Floats sums[tall][wide];
#pragma GCC unroll 6
  for (int i = 0; i < tall; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < wide; ++j) sums[i][j] = add ? load(c + i * c_row + j * kLanes) : Floats{};
  for (int64_t k = 0; k < depth; ++k) {
    Floats right[wide];
#pragma GCC unroll 2
    for (int j = 0; j < wide; ++j) right[j] = load(b + k * b_row + j * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < tall; ++i) {
      const Floats left = all(a[i * a_row + k * a_step]);
#pragma GCC unroll 2
      for (int j = 0; j < wide; ++j) sums[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < tall; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < wide; ++j) store(c + i * c_row + j * kLanes, sums[i][j]);
}

template <int wide>
inline void strip(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, int64_t rows,
                  int64_t depth, float* c, int64_t c_row, bool add) {
  for (; rows >= kTall; rows -= kTall, a += kTall * a_row, c += kTall * c_row)
    tile<kTall, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
  switch (rows) {
    case 5: return tile<5, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
    case 4: return tile<4, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
    case 3: return tile<3, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
    case 2: return tile<2, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
    case 1: return tile<1, wide>(a, a_row, a_step, b, b_row, depth, c, c_row, add);
  }
}

// C (rows, width) = [C +] A B of `depth` products a sum; width is a multiple of 16.
inline void multiply(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_row, int64_t rows,
                     int64_t depth, int64_t width, float* c, int64_t c_row, bool add = false) {
  int64_t j = 0;
  for (; j + kWide * kLanes <= width; j += kWide * kLanes)
    strip<kWide>(a, a_row, a_step, b + j, b_row, rows, depth, c + j, c_row, add);
  for (; j < width; j += kLanes) strip<1>(a, a_row, a_step, b + j, b_row, rows, depth, c + j, c_row, add);
}

// --------------------------------------------------------------------------------------------------------------- checks

inline const float* matrix(const Tensor& t, const char* name, int64_t rows = -1, int64_t columns = -1) {
  TORCH_CHECK(t.dim() == 2 && t.scalar_type() == at::kFloat && t.is_cpu(), name, ": an fp32 matrix is needed");
  TORCH_CHECK(t.size(1) <= 1 || t.stride(1) == 1, name, ": the values of a row must lie side by side");
  TORCH_CHECK(rows < 0 || t.size(0) == rows, name, ": ", t.size(0), " rows; ", rows, " are needed");
  TORCH_CHECK(columns < 0 || t.size(1) == columns, name, ": ", t.size(1), " columns; ", columns, " are needed");
  return t.const_data_ptr<float>();
}

// The values of a vector, or null where there is none.
inline const float* vector(const Optional& t, const char* name, int64_t size) {
  if (!t) return nullptr;
  TORCH_CHECK(t->dim() == 1 && t->scalar_type() == at::kFloat && t->is_cpu() && t->is_contiguous() && t->size(0) == size,
              name, ": ", size, " contiguous fp32 values are needed");
  return t->const_data_ptr<float>();
}

inline void check_width(int64_t width) {
  TORCH_CHECK(width % 16 == 0, "rows of ", width, "; a multiple of 16 is needed");
}

inline Tensor make(int64_t rows, int64_t columns) { return at::detail::empty_cpu({rows, columns}, at::kFloat); }

}  // namespace loraloom::fp32
