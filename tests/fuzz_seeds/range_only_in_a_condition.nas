nas 1
block own(kernel = 3, first stride = 1, gate = no, act = relu, ops = identity) -> filters {
  a = in | squeeze_excite(4) when gate | (conv2d(1) -> 16 | bn) when stride > 1 | bn | concat(in)
  b = a | nothing when gate
  concat(in, a, b) | concat(a) | irb(3, 2) -> filters | bn | relu
}
block two(kernel = 3, stride = 1, gate = no, ops = relu, act = relu) -> filters {
  a = in | dropout(0.2) | irb(3, 2) -> filters
  in | own(kernel, stride) | add(a)
}
space fuzzed {
  input image 4 x 7 x 8
  output classes 10
  granularity 8
  let w1 = 16
  let w2 = 8 .. 32 step 8
  let k3 = 3 .. 7 step 2
  stage s1 own   { stride 2  gate 8 .. 32 step 8 } -> 8 
  head global_pool | linear
}
search prunet { epochs 2 }
