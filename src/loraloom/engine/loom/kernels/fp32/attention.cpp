// Softmax attention within each text of an unpadded batch, forward and backward, a task for each (text, head): of T tokens
// and a head of d, 4 T^2 d FLOPs forward and 10 T^2 d backward. Probabilities are computed again on the way back. A block of
// queries takes all keys that it sees at once. With `first` the only query is the text's first token, whose context is a
// row of its own.
#include <atomic>

#include "kernels.h"
#include "vectors.h"

namespace loraloom::fp32 {
namespace {

constexpr int64_t kQueries = 96;  // of a block: a multiple of the rows of a tile

// What both directions are given.
struct Job {
  const float* qkv;
  int64_t stride, rows, width, heads, depth;
  float scale;
  int64_t window;
  bool first;
  Dropout drop;
  Biases biases;
  Texts texts;

  int64_t queries(int64_t text) const { return first ? 1 : texts.length(text); }
  // The row of a text's first query among contexts.
  int64_t context(int64_t text) const { return first ? text : texts.offsets[text]; }
  int64_t contexts() const { return first ? static_cast<int64_t>(texts.order.size()) : rows; }
};

Job read(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias, int64_t window,
         double p, int64_t key0, int64_t key1, bool first) {
  const float* data = matrix(qkv, "qkv");
  const int64_t rows = qkv.size(0), width = qkv.size(1) / 3;
  check_heads(qkv, heads);
  TORCH_CHECK(window >= 0, "window: ", window, "; it must be 0 (all keys are seen) or more");
  Texts texts(offsets, rows);
  TORCH_CHECK(!first || texts.order.empty() || texts.length(texts.order.back()) > 0, "offsets: a text has no token");
  const Biases biases(bias, heads, texts.longest);
  return {data, qkv.stride(0), rows, width, heads, width / heads, static_cast<float>(scale), window, first,
          Dropout(p, key0, key1), biases, std::move(texts)};
}

// Rows of a head, which lie far apart, side by side.
void copy_rows(const float* from, int64_t stride, int64_t rows, int64_t depth, float* to) {
  for (int64_t i = 0; i < rows; ++i) std::memcpy(to + i * depth, from + i * stride, depth * sizeof(float));
}

// (rows, depth) to (depth, padded), zeros beyond.
void transpose(const float* from, int64_t rows, int64_t depth, int64_t padded, float* to) {
  for (int64_t j = 0; j < depth; ++j) {
    for (int64_t i = 0; i < rows; ++i) to[j * padded + i] = from[i * depth + j];
    for (int64_t i = rows; i < padded; ++i) to[j * padded + i] = 0;
  }
}

// Queries of a text that are computed at once, and the keys that they see.
struct Block {
  int64_t first, rows;  // of queries
  Range keys;
  int64_t width, seen;  // keys with the padding, and without

  Block(const Job& job, int64_t at, int64_t queries, int64_t length)
      : first(at),
        rows(std::min(kQueries, queries - at)),
        keys(at, at + rows - 1, length, job.window),
        width(keys.end - keys.begin),
        seen(std::min(keys.end, length) - keys.begin) {}
};

// Scores of a row to probabilities; 0 for keys that the query does not see.
void softmax(const Job& job, const Block& block, int64_t row, int64_t length, int64_t head, float* s) {
  const int64_t query = block.first + row;
  const int64_t from = job.window ? std::max<int64_t>(0, query - job.window) : 0;
  const int64_t to = job.window ? std::min(length, query + job.window + 1) : length;
  const float* bias = job.biases.of(head, query);
  const Ints places = iota() + static_cast<int32_t>(block.keys.begin - from);
  const auto seen = [&](int64_t j) {
    return reinterpret_cast<Words>(places + static_cast<int32_t>(j)) < static_cast<uint32_t>(to - from);
  };
  Floats top = all(-INFINITY);
  for (int64_t j = 0; j < block.width; j += kLanes) {
    Floats value = load(s + j) * job.scale;
    if (bias != nullptr) {
      Floats added{};
      const int64_t left = job.biases.size - block.keys.begin - j;
      if (left > 0) std::memcpy(&added, bias + block.keys.begin + j, std::min(left, kLanes) * sizeof(float));
      value += added;
    }
    value = seen(j) ? value : all(-INFINITY);
    store(s + j, value);
    top = value > top ? value : top;
  }
  const float highest = maximum(top);
  Floats total{};
  for (int64_t j = 0; j < block.width; j += kLanes) {
    const Floats value = seen(j) ? exponential(load(s + j) - highest) : Floats{};
    store(s + j, value);
    total += value;
  }
  const float inverse = 1.f / sum(total);
  for (int64_t j = 0; j < block.width; j += kLanes) store(s + j, load(s + j) * inverse);
}

// The number of a row's first probability, which the dropout of each goes by.
uint32_t number(const Job& job, const Block& block, int64_t begin, int64_t row, int64_t head) {
  return static_cast<uint32_t>((((begin + block.first + row) * job.heads + head) << 13) + block.keys.begin);
}

// Calls body(text, head, memory) for all heads of all texts that have tokens; memory is of so many floats.
template <class Task>
void each_head(const Job& job, int64_t floats, const Task& body) {
  const int64_t tasks = static_cast<int64_t>(job.texts.order.size()) * job.heads;
  std::atomic<int64_t> next{0};
  on_threads(tasks, [&](int) {
    float* memory = static_cast<float*>(scratch(kAttention, floats * static_cast<int64_t>(sizeof(float))));
    for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) {
      const int64_t text = job.texts.order[task / job.heads];
      if (job.texts.length(text) > 0) body(text, task % job.heads, memory);
    }
  });
}

}  // namespace

// softmax(scale q k^T + bias) v of every head: (N, D), or (B, D) of first tokens.
Tensor attention(const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale, const Optional& bias,
                 int64_t window, double p, int64_t key0, int64_t key1, bool first) {
  const Job job = read(qkv, offsets, heads, scale, bias, window, p, key0, key1, first);
  Tensor context = make(job.contexts(), job.width);
  float* to = context.mutable_data_ptr<float>();
  const int64_t most = round_up(job.texts.longest, 32), depth = job.depth;
  each_head(job, 2 * most * depth + kQueries * most, [&](int64_t text, int64_t h, float* memory) {
    const int64_t begin = job.texts.offsets[text], length = job.texts.length(text), padded = round_up(length, 32);
    float *rows = memory, *k = rows + most * depth, *scores = k + most * depth;
    const float* q = job.qkv + begin * job.stride + h * depth;
    copy_rows(q + job.width, job.stride, length, depth, rows);
    transpose(rows, length, depth, padded, k);
    copy_rows(q + 2 * job.width, job.stride, length, depth, rows);
    for (int64_t at = 0; at < job.queries(text); at += kQueries) {
      const Block block(job, at, job.queries(text), length);
      multiply(q + at * job.stride, job.stride, 1, k + block.keys.begin, padded, block.rows, depth, block.width, scores,
               block.width);
      for (int64_t i = 0; i < block.rows; ++i) {
        float* s = scores + i * block.width;
        softmax(job, block, i, length, h, s);
        if (!job.drop.on) continue;
        const uint32_t start = number(job, block, begin, i, h);
        for (int64_t j = 0; j < block.width; j += kLanes)
          store(s + j, load(s + j) * job.drop.factors(start + static_cast<uint32_t>(j)));
      }
      multiply(scores, block.width, 1, rows + block.keys.begin * depth, depth, block.rows, block.seen, depth,
               to + (job.context(text) + at) * job.width + h * depth, job.width);
    }
  });
  return context;
}

// The gradient (N, 3D) of qkv. With P the probabilities and Z their dropout factors: dV = (P Z)^T dO,
// dS = P (Z dO V^T - rowsum(P Z dO V^T)), dQ = scale dS K, dK = scale dS^T Q.
Tensor attention_backward(const Tensor& dctx, const Tensor& qkv, const Tensor& offsets, int64_t heads, double scale,
                          const Optional& bias, int64_t window, double p, int64_t key0, int64_t key1, bool first) {
  const Job job = read(qkv, offsets, heads, scale, bias, window, p, key0, key1, first);
  const float* gradient = matrix(dctx, "dctx", job.contexts(), job.width);
  Tensor result = make(job.rows, 3 * job.width);
  float* to = result.mutable_data_ptr<float>();
  const int64_t most = round_up(job.texts.longest, 32), depth = job.depth, to_stride = 3 * job.width;
  each_head(job, 4 * most * depth + 2 * kQueries * (most + depth), [&](int64_t text, int64_t h, float* memory) {
    const int64_t begin = job.texts.offsets[text], length = job.texts.length(text), padded = round_up(length, 32);
    float *k_rows = memory, *k = k_rows + most * depth, *v = k + most * depth, *v_rows = v + most * depth;
    float *q_rows = v_rows + most * depth, *d_out = q_rows + kQueries * depth;
    float *scores = d_out + kQueries * depth, *d_scores = scores + kQueries * most;
    const float* q = job.qkv + begin * job.stride + h * depth;
    float* dq = to + begin * to_stride + h * depth;
    float *dk = dq + job.width, *dv = dk + job.width;
    copy_rows(q + job.width, job.stride, length, depth, k_rows);
    copy_rows(q + 2 * job.width, job.stride, length, depth, v_rows);
    transpose(k_rows, length, depth, padded, k);
    transpose(v_rows, length, depth, padded, v);
    const int64_t queries = job.queries(text);
    const bool several = queries > kQueries || job.window;  // blocks, which add to keys or do not see them
    for (int64_t i = 0; i < length; ++i) {
      if (several) std::memset(dk + i * to_stride, 0, depth * sizeof(float));
      if (several) std::memset(dv + i * to_stride, 0, depth * sizeof(float));
      if (i >= queries) std::memset(dq + i * to_stride, 0, depth * sizeof(float));
    }
    for (int64_t at = 0; at < queries; at += kQueries) {
      const Block block(job, at, queries, length);
      const int64_t width = block.width, keys = block.keys.begin;
      copy_rows(q + at * job.stride, job.stride, block.rows, depth, q_rows);
      copy_rows(gradient + (job.context(text) + at) * dctx.stride(0) + h * depth, dctx.stride(0), block.rows, depth,
                d_out);
      multiply(q_rows, depth, 1, k + keys, padded, block.rows, depth, width, scores, width);
      multiply(d_out, depth, 1, v + keys, padded, block.rows, depth, width, d_scores, width);
      for (int64_t i = 0; i < block.rows; ++i) {
        float *s = scores + i * width, *ds = d_scores + i * width;
        softmax(job, block, i, length, h, s);
        const uint32_t start = number(job, block, begin, i, h);
        const auto factors = [&](int64_t j) { return job.drop.factors(start + static_cast<uint32_t>(j)); };
        Floats along{};
        for (int64_t j = 0; j < width; j += kLanes) {
          Floats value = load(ds + j);
          if (job.drop.on) value *= factors(j);
          store(ds + j, value);
          along += value * load(s + j);
        }
        const float level = sum(along);
        for (int64_t j = 0; j < width; j += kLanes) {
          const Floats probability = load(s + j);
          store(ds + j, probability * (load(ds + j) - level) * job.scale);
          if (job.drop.on) store(s + j, probability * factors(j));
        }
      }
      multiply(d_scores, width, 1, k_rows + keys * depth, depth, block.rows, block.seen, depth, dq + at * to_stride,
               to_stride);
      multiply(scores, 1, width, d_out, depth, block.seen, block.rows, depth, dv + keys * to_stride, to_stride, several);
      multiply(d_scores, 1, width, q_rows, depth, block.seen, block.rows, depth, dk + keys * to_stride, to_stride,
               several);
    }
  });
  return result;
}

}  // namespace loraloom::fp32
