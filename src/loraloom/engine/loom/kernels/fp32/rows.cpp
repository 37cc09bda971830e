// What follows a product, row by row: bias, dropout, the residual and the norm in one pass, and the norm's backward. Bound
// by memory: 8 bytes a value of each operand move, where torch's operations, one after the other, read and write them all.
#include "kernels.h"
#include "vectors.h"

namespace loraloom::fp32 {
namespace {

struct Statistics {
  float mean, inverse;  // of the deviation
};

// The sum of value(j) over the vectors of a row; two sums side by side, since one waits for each addition.
template <class Value>
float total(int64_t width, const Value& value) {
  Floats sums[2] = {};
  int64_t j = 0;
  for (; j + 2 * kLanes <= width; j += 2 * kLanes) {
    sums[0] += value(j);
    sums[1] += value(j + kLanes);
  }
  if (j < width) sums[0] += value(j);
  return sum(sums[0] + sums[1]);
}

// In two passes over a row.
Statistics statistics(const float* x, float eps, int64_t width) {
  const float mean = total(width, [&](int64_t j) { return load(x + j); }) / width;
  const float squares = total(width, [&](int64_t j) {
    const Floats off = load(x + j) - mean;
    return off * off;
  });
  // A row too large to be squared has no deviation: by an infinite one it would become zeros, and a trial that has diverged
  // would look well.
  return {mean, std::isfinite(squares) ? 1.f / std::sqrt(squares / width + eps) : NAN};
}

// h = (x - mean) / deviation * gamma + beta.
void norm_row(const float* x, const float* gamma, const float* beta, float eps, int64_t width, float* h) {
  const Statistics s = statistics(x, eps, width);
  for (int64_t j = 0; j < width; j += kLanes) {
    const Floats scaled = (load(x + j) - s.mean) * s.inverse * load(gamma + j);
    store(h + j, beta == nullptr ? scaled : scaled + load(beta + j));
  }
}

template <class Row>
void each_row(int64_t rows, const Row& body) {
  on_threads(ceil_div(rows, 8), [&](int thread) {
    const int64_t step = ceil_div(rows, omp_get_num_threads()), begin = thread * step;
    for (int64_t i = begin; i < std::min(rows, begin + step); ++i) body(i);
  });
}

// y = dropout(x + bias) + residual of one row; x and y may be the same.
struct Sum {
  const float *bias, *residual;
  int64_t residual_stride, width;
  Dropout drop;

  Sum(const Optional& bias_, const Optional& residual_, const Tensor& x, double p, int64_t key0, int64_t key1)
      : bias(vector(bias_, "bias", x.size(1))),
        residual(residual_ ? matrix(*residual_, "residual", x.size(0), x.size(1)) : nullptr),
        residual_stride(residual_ ? residual_->stride(0) : 0),
        width(x.size(1)),
        drop(p, key0, key1) {
    check_width(width);
  }

  void row(int64_t i, const float* x, float* y) const {
    for (int64_t j = 0; j < width; j += kLanes) {
      Floats value = load(x + j);
      if (bias != nullptr) value += load(bias + j);
      if (drop.on) value *= drop.factors(static_cast<uint32_t>(i * width + j));
      if (residual != nullptr) value += load(residual + i * residual_stride + j);
      store(y + j, value);
    }
  }
};

float* contiguous(Tensor& t, const char* name) {
  matrix(t, name);
  TORCH_CHECK(t.is_contiguous(), name, ": its rows must lie side by side");
  return t.mutable_data_ptr<float>();
}

}  // namespace

Tensor add(const Tensor& x, const Optional& bias, const Optional& residual, double p, int64_t key0, int64_t key1) {
  const Sum sum(bias, residual, x, p, key0, key1);
  const float* from = matrix(x, "x");
  Tensor y = make(x.size(0), x.size(1));
  float* to = y.mutable_data_ptr<float>();
  each_row(x.size(0), [&](int64_t i) { sum.row(i, from + i * x.stride(0), to + i * sum.width); });
  return y;
}

void add_norm(Tensor y, const Optional& bias, const Optional& residual, double p, int64_t key0, int64_t key1,
              const Tensor& gamma, const Optional& beta, double eps, Tensor h) {
  const Sum sum(bias, residual, y, p, key0, key1);
  const int64_t width = sum.width;
  const float *gain = vector(gamma, "gamma", width), *shift = vector(beta, "beta", width);
  float *sums = contiguous(y, "y"), *to = contiguous(h, "h");
  matrix(h, "h", y.size(0), width);
  each_row(y.size(0), [&](int64_t i) {
    float* row = sums + i * width;
    sum.row(i, row, row);
    norm_row(row, gain, shift, static_cast<float>(eps), width, to + i * width);
  });
}

Tensor norm(const Tensor& x, const Tensor& gamma, const Optional& beta, double eps) {
  const int64_t width = x.size(1);
  const float *from = matrix(x, "x"), *gain = vector(gamma, "gamma", width), *shift = vector(beta, "beta", width);
  check_width(width);
  Tensor h = make(x.size(0), width);
  float* to = h.mutable_data_ptr<float>();
  each_row(x.size(0), [&](int64_t i) {
    norm_row(from + i * x.stride(0), gain, shift, static_cast<float>(eps), width, to + i * width);
  });
  return h;
}

std::tuple<Tensor, Tensor> norm_backward(const Tensor& dh, const Tensor& r, const Tensor& gamma, double eps, double p,
                                         int64_t key0, int64_t key1) {
  const int64_t n = r.size(0), width = r.size(1);
  const float *from = matrix(r, "r"), *gradient = matrix(dh, "dh", n, width), *gain = vector(gamma, "gamma", width);
  check_width(width);
  const Dropout drop(p, key0, key1);
  Tensor dr = make(n, width);
  Tensor dy = drop.on ? make(n, width) : dr;
  float *to_r = dr.mutable_data_ptr<float>(), *to_y = dy.mutable_data_ptr<float>();
  each_row(n, [&](int64_t i) {
    const float *x = from + i * r.stride(0), *own = gradient + i * dh.stride(0);
    const Statistics s = statistics(x, static_cast<float>(eps), width);
    const auto hat = [&](int64_t j) { return (load(x + j) - s.mean) * s.inverse; };
    const auto weighted = [&](int64_t j) { return load(own + j) * load(gain + j); };
    const float level = total(width, weighted) / width;
    const float along = total(width, [&](int64_t j) { return weighted(j) * hat(j); }) / width;
    for (int64_t j = 0; j < width; j += kLanes) {
      const Floats value = (weighted(j) - level - hat(j) * along) * s.inverse;
      store(to_r + i * width + j, value);
      if (drop.on) store(to_y + i * width + j, value * drop.factors(static_cast<uint32_t>(i * width + j)));
    }
  });
  return {dr, dy};
}

}  // namespace loraloom::fp32
