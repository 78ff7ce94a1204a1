nas 1

// A small space for Fashion-MNIST (28 x 28, grey): stage-wise inverted residuals, with squeeze-and-excitation or not.
space fashion {
  input       image 1 x 28 x 28
  output      classes 10
  granularity 8
  skip        same_shape

  stage stem  conv      { kernel 3      }                                      -> 16
  stage low   irb  x 3  { kernel {3, 5}            expand (1, 4]  se {0, 1} }  -> 16
  stage mid   irb  x 3  { kernel {3, 5}  stride 2  expand (1, 4]  se {0, 1} }  -> 32
  stage high  irb  x 3  { kernel {3, 5}  stride 2  expand (1, 4]  se {0, 1} }  -> 64
  head        conv      { kernel 1      } -> 128 | global_pool | linear
}

search prunet {
  epochs 40  warmup 14  batch 128
  alpha 0.6  lambda 0.55
  weights rmsprop { rate 0.004  decay 1e-5 }
}

target cpu { engine onnxruntime  precision fp32  batch 1 }
