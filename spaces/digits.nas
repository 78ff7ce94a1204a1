nas 1

// A small space for scikit-learn's handwritten digits, resized to 16 x 16: the one that `make demo` searches in
// minutes on a laptop. Six layers are searched: their kernel, their hidden width, and which of them are dropped.
space digits {
  input       image 1 x 16 x 16
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3      }                           -> 8
  stage low   irb  x 2  { kernel {3, 5}            expand [2, 6] }  -> 8
  stage mid   irb  x 2  { kernel {3, 5}  stride 2  expand (1, 4] }  -> 16
  stage high  irb  x 2  { kernel {3, 5}  stride 2  expand (1, 4] }  -> 32
  head        conv      { kernel 1      } -> 64 | global_pool | linear
}

search prunet {
  epochs 30  warmup 10  batch 64
  alpha 0.6  lambda 0.55
  weights rmsprop { rate 0.004  decay 1e-5 }
}

target cpu { engine onnxruntime  precision fp32  batch 1 }
