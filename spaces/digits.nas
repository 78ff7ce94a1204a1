nas 1

// Small networks for scikit-learn's 8 x 8 digits, shown at 16 x 16: what `make demo` searches, in minutes on a CPU.
space digits {
  input       image 1 x 16 x 16
  output      classes 10
  granularity 16
  skip        same_shape

  stage stem  conv      { kernel 3                 act relu }                 -> 16
  stage s1    irb  x 2  { kernel {3, 5}            act relu  expand (1, 6] }  -> 16
  stage s2    irb  x 3  { kernel {3, 5}  stride 2  act relu  expand (1, 6] }  -> 32
  stage s3    irb  x 2  { kernel {3, 5}  stride 2  act relu  expand (1, 4] }  -> 48
  head        conv      { kernel 1                 act relu } -> 96 | global_pool | linear
}

search prunet {
  epochs 14  warmup 5  batch 64
  alpha 0.6  beta 0.6
  phi 1.1  lambda 0.55
  threshold 0.3 .. 0.6
  weights rmsprop { rate 0.002  decay 1e-5 }
}

target cpu { engine onnxruntime  precision fp32  batch 1 }
