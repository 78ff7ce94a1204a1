nas 1

// Around RegNetY-800MF: in every layer the width of the 3x3 convolution (in whole groups of 16 channels) and whether
// there is a gate; layers that keep the shape may be dropped, so that depths go up to one more than the published ones.
space regnet {
  input       image 3 x 224 x 224
  output      classes 1000
  granularity 16
  skip        same_shape
  default     { act relu }

  stage stem  conv        { kernel 3  stride 2 }                                          -> 32
  stage s1    regnet x 2  { stride 2  group_width 16  mid 16 .. 64 step 16   se {0, 1} }  -> 64
  stage s2    regnet x 4  { stride 2  group_width 16  mid 16 .. 128 step 16  se {0, 1} }  -> 128
  stage s3    regnet x 9  { stride 2  group_width 16  mid 32 .. 320 step 16  se {0, 1} }  -> 320
  stage s4    regnet x 3  { stride 2  group_width 16  mid 64 .. 768 step 16  se {0, 1} }  -> 768
  head        global_pool | linear
}

search prunet { epochs 90  warmup 30  threshold 0.1 .. 0.55 }
