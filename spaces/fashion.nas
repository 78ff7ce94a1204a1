nas 1

// Networks for Fashion-MNIST, 28 x 28: kernels, expansions, squeeze-and-excitation and depth.
space fashion {
  input       image 1 x 28 x 28
  output      classes 10
  granularity 16
  skip        same_shape

  stage stem  conv           { kernel 3                 act swish }                            -> 16
  stage s1    fused_irb x 2  { kernel {3, 5}  stride 2  act swish  expand (0, 4] }             -> 24
  stage s2    irb       x 3  { kernel {3, 5}  stride 2  act swish  expand (0, 6]  se {0, 1} }  -> 40
  stage s3    irb       x 3  { kernel {3, 5}            act relu   expand (0, 6]  se {0, 1} }  -> 64
  head        conv           { kernel 1                 act relu  } -> 192 | global_pool | dropout(0.1) | linear
}

search prunet {
  epochs 30  warmup 10  batch 128
  alpha 0.6  beta 0.6
  phi 1.1  lambda 0.55
  threshold 0.15 .. 0.55
  weights rmsprop { rate 0.002  decay 1e-5 }
}

target cpu { engine onnxruntime  precision fp32  batch 1 }
