// The operations under torch.ops.loraloom, whether this process can run them, and whether by AMX intrinsics.
#include <torch/library.h>

#include "primitives.h"
#include "kernels.h"

namespace loraloom {
bool usable() { return supported(); }

bool amx() {
#ifdef LORALOOM_AMX
  return true;
#else
  return false;
#endif
}
}  // namespace loraloom

TORCH_LIBRARY(loraloom, m) {
  m.def("usable() -> bool", loraloom::usable);
  m.def("amx() -> bool", loraloom::amx);
  m.def("pack(Tensor w) -> Tensor");
  m.def(
      "linear(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? u, Tensor? b, Tensor? residual, float p,"
      " int key0, int key1) -> Tensor");
  m.def(
      "linear_gelu(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? u, Tensor? b, bool keep=True)"
      " -> (Tensor a, Tensor g)");
  m.def("linear_gelu_backward(Tensor dy, Tensor packed, int out_features, Tensor? u, Tensor? b, Tensor a) -> Tensor");
  m.def(
      "linear_norm(Tensor x, Tensor packed, int out_features, Tensor? bias, Tensor? u, Tensor? b, Tensor residual,"
      " float p, int key0, int key1, Tensor gamma, Tensor beta, float eps, bool keep=True) -> (Tensor r, Tensor h)");
  m.def("lowrank_project(Tensor x, Tensor a) -> Tensor");
  m.def("lowrank_gradient(Tensor z, Tensor y) -> Tensor");
  m.def("dropout(Tensor x, float p, int key0, int key1) -> Tensor");
  m.def("column_sums(Tensor y) -> Tensor");
  m.def("norm(Tensor x, Tensor gamma, Tensor? beta, float eps) -> Tensor");
  m.def(
      "norm_backward(Tensor dh, Tensor r, Tensor gamma, float eps, float p, int key0, int key1)"
      " -> (Tensor dr, Tensor dy)");
  m.def(
      "attention(Tensor qkv, Tensor offsets, int heads, float scale, Tensor? bias, int window, float p, int key0,"
      " int key1) -> Tensor");
  m.def(
      "attention_backward(Tensor dctx, Tensor qkv, Tensor ctx, Tensor offsets, int heads, float scale, Tensor? bias,"
      " int window, float p, int key0, int key1) -> Tensor");
  m.def(
      "attention_first(Tensor qkv, Tensor offsets, int heads, float scale, Tensor? bias, int window, float p, int key0,"
      " int key1) -> Tensor");
  m.def(
      "attention_first_backward(Tensor dctx, Tensor qkv, Tensor offsets, int heads, float scale, Tensor? bias,"
      " int window, float p, int key0, int key1) -> Tensor");
}

TORCH_LIBRARY_IMPL(loraloom, CPU, m) {
  m.impl("pack", loraloom::pack);
  m.impl("linear", loraloom::linear);
  m.impl("linear_gelu", loraloom::linear_gelu);
  m.impl("linear_gelu_backward", loraloom::linear_gelu_backward);
  m.impl("linear_norm", loraloom::linear_norm);
  m.impl("lowrank_project", loraloom::lowrank_project);
  m.impl("lowrank_gradient", loraloom::lowrank_gradient);
  m.impl("dropout", loraloom::dropout);
  m.impl("column_sums", loraloom::column_sums);
  m.impl("norm", loraloom::norm);
  m.impl("norm_backward", loraloom::norm_backward);
  m.impl("attention", loraloom::attention);
  m.impl("attention_backward", loraloom::attention_backward);
  m.impl("attention_first", loraloom::attention_first);
  m.impl("attention_first_backward", loraloom::attention_first_backward);
}
