// Torch's threads, and memory that each of them keeps: for kernels of any type.
#pragma once

#include <c10/macros/Export.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>

namespace at {
TORCH_API int get_num_threads();  // of ATen/Parallel.h, which takes a second to read
}

namespace loraloom {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Calls body(thread) on each of torch's threads; results must not depend on which thread does what. What one of them
// throws, as where there is no memory, is thrown when all have ended: out of a parallel region it would end the process.
template <class Body>
void on_threads(int64_t tasks, const Body& body) {
  const int threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), tasks)));
  std::exception_ptr thrown;
#pragma omp parallel num_threads(threads) if (threads > 1)
  try {
    body(omp_get_thread_num());
  } catch (...) {
#pragma omp critical
    thrown = std::current_exception();
  }
  if (thrown) std::rethrow_exception(thrown);
}

// Memory that a thread keeps from call to call (fresh pages cost more than the copies that go into them). `purpose`
// tells apart the buffers that are in use at once.
enum Purpose { kTail, kLowRankLeft, kLowRankRight, kBlock, kRow, kAttention, kPurposes };

inline void* scratch(Purpose purpose, int64_t bytes) {
  struct Buffer {
    void* at = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(at); }
  };
  static thread_local Buffer buffers[kPurposes];
  Buffer& buffer = buffers[purpose];
  if (buffer.size < bytes) {
    std::free(buffer.at);
    buffer.size = 0;
    const int64_t size = round_up(bytes + bytes / 4, 4096);
    buffer.at = std::aligned_alloc(4096, size);
    if (buffer.at == nullptr) throw std::bad_alloc();
    buffer.size = size;
  }
  return buffer.at;
}

}  // namespace loraloom
