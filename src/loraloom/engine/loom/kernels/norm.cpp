// Layer norms of rows of bf16, forward and backward, statistics in fp32 in two passes over a row that lies in the first
// cache. Tried: one sum
// in place of two side by side, and stores of half a line (together 15 to 25% slower). About 8 operations a value forward and 20 backward; 4 bytes a value move forward, 8 or 10 backward.
#include "primitives.h"
#include "kernels.h"

namespace loraloom {
namespace {

struct Statistics {
  float mean, inverse;  // of the deviation
};

// Two sums side by side: one alone waits four cycles for each of its additions.
Statistics statistics(const bf16* x, float eps, int64_t width, float* row) {
  __m512 sum0 = _mm512_setzero_ps(), sum1 = sum0;
  for (int64_t j = 0; j < width; j += 32) {
    const __m512 v0 = load(x + j), v1 = load(x + j + 16);
    _mm512_storeu_ps(row + j, v0);
    _mm512_storeu_ps(row + j + 16, v1);
    sum0 = _mm512_add_ps(sum0, v0);
    sum1 = _mm512_add_ps(sum1, v1);
  }
  const float mean = _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1)) / width;
  const __m512 middle = _mm512_set1_ps(mean);
  __m512 squares0 = _mm512_setzero_ps(), squares1 = squares0;
  for (int64_t j = 0; j < width; j += 32) {
    const __m512 v0 = _mm512_sub_ps(_mm512_loadu_ps(row + j), middle);
    const __m512 v1 = _mm512_sub_ps(_mm512_loadu_ps(row + j + 16), middle);
    squares0 = _mm512_fmadd_ps(v0, v0, squares0);
    squares1 = _mm512_fmadd_ps(v1, v1, squares1);
  }
  const float squares = _mm512_reduce_add_ps(_mm512_add_ps(squares0, squares1));
  // A row too large to be squared has no deviation: by an infinite one it would become zeros, and a trial that has diverged
  // would look well.
  return {mean, std::isfinite(squares) ? 1.f / std::sqrt(squares / width + eps) : NAN};
}

template <class Row>
void each_row(int64_t rows, int64_t width, const Row& body) {
  const int64_t parts = std::min<int64_t>(at::get_num_threads(), ceil_div(rows, 8));
  on_threads(parts, [&](int thread) {
    const int64_t step = ceil_div(rows, omp_get_num_threads()), begin = thread * step;
    float* scratch_row = static_cast<float*>(scratch(kRow, 2 * width * sizeof(float)));
    for (int64_t i = begin; i < std::min(rows, begin + step); ++i) body(i, scratch_row);
  });
}

}  // namespace

// h = (x - mean) / deviation * gamma + beta of one row; `row` is room for `width` values, a multiple of 32.
void norm_row(const bf16* x, const float* gamma, const float* beta, float eps, int64_t width, float* row, bf16* h) {
  const Statistics s = statistics(x, eps, width, row);
  const __m512 mean = _mm512_set1_ps(s.mean), inverse = _mm512_set1_ps(s.inverse);
  const auto value = [&](int64_t j) {
    const __m512 hat = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + j), mean), inverse);
    const __m512 gain = _mm512_loadu_ps(gamma + j);
    return beta == nullptr ? _mm512_mul_ps(hat, gain) : _mm512_fmadd_ps(hat, gain, _mm512_loadu_ps(beta + j));
  };
  for (int64_t j = 0; j < width; j += 32) store(h + j, value(j), value(j + 16));
}

Tensor norm(const Tensor& x, const Tensor& gamma, const Optional& beta, double eps) {
  const int64_t n = x.size(0), width = x.size(1), stride = x.stride(0);
  const bf16* from = matrix(x, "x");
  TORCH_CHECK(width % 32 == 0, "x: rows of ", width, "; a multiple of 32 is needed");
  const float *gain = vector(gamma, "gamma", width), *shift = beta ? vector(*beta, "beta", width) : nullptr;
  Tensor h = make(n, width);
  bf16* to = h.mutable_data_ptr<bf16>();
  each_row(n, width, [&](int64_t i, float* row) {
    norm_row(from + i * stride, gain, shift, static_cast<float>(eps), width, row, to + i * width);
  });
  return h;
}

// dr = inverse (g - mean(g) - xhat mean(g xhat)), g = dh gamma; dy = dr through the dropout's mask, or dr itself.
std::tuple<Tensor, Tensor> norm_backward(const Tensor& dh, const Tensor& r, const Tensor& gamma, double eps, double p,
                                         int64_t key0, int64_t key1) {
  const int64_t n = r.size(0), width = r.size(1), stride = r.stride(0), dh_stride = dh.stride(0);
  const bf16 *from = matrix(r, "r"), *gradient = matrix(dh, "dh", n, width);
  TORCH_CHECK(width % 32 == 0, "r: rows of ", width, "; a multiple of 32 is needed");
  const float* gain = vector(gamma, "gamma", width);
  const Dropout drop(p, key0, key1);
  Tensor dr = make(n, width);
  Tensor dy = drop.on ? make(n, width) : dr;
  bf16 *to_r = dr.mutable_data_ptr<bf16>(), *to_y = dy.mutable_data_ptr<bf16>();
  each_row(n, width, [&](int64_t i, float* row) {
    const Statistics s = statistics(from + i * stride, static_cast<float>(eps), width, row);
    const __m512 mean = _mm512_set1_ps(s.mean), inverse = _mm512_set1_ps(s.inverse);
    float* weighted = row + width;
    __m512 sums[2] = {}, alongs[2] = {};
    for (int64_t j = 0; j < width; j += 32)
      for (int half = 0; half < 2; ++half) {
        const int64_t at = j + half * 16;
        const __m512 hat = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(row + at), mean), inverse);
        const __m512 g = _mm512_mul_ps(load(gradient + i * dh_stride + at), _mm512_loadu_ps(gain + at));
        _mm512_storeu_ps(row + at, hat);
        _mm512_storeu_ps(weighted + at, g);
        sums[half] = _mm512_add_ps(sums[half], g);
        alongs[half] = _mm512_fmadd_ps(g, hat, alongs[half]);
      }
    const __m512 a = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1])) / width);
    const __m512 b = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(alongs[0], alongs[1])) / width);
    const auto value = [&](int64_t j) {
      const __m512 v = _mm512_sub_ps(_mm512_loadu_ps(weighted + j), a);
      return _mm512_mul_ps(_mm512_fnmadd_ps(_mm512_loadu_ps(row + j), b, v), inverse);
    };
    for (int64_t j = 0; j < width; j += 32) {
      const __m512 low = value(j), high = value(j + 16);
      store(to_r + i * width + j, low, high);
      const uint32_t index = static_cast<uint32_t>(i * width + j);
      if (drop.on) store(to_y + i * width + j, drop.apply(low, index), drop.apply(high, index + 16));
    }
  });
  return {dr, dy};
}

}  // namespace loraloom
