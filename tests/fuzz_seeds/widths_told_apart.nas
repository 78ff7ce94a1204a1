block own(kernel = 3, first stride = 1, gate = no, act = relu, ops = relu) -> filters {
  a = in | conv2d(3, stride) -> filters | bn | conv2d(1) -> max(in.channels /  2, 4)
  b = in | act | max_pool(3) | add(a) | swish
  b | residual(a)
}
block two(kernel = 3, stride = 1, gate = no, ops = relu, act = relu) -> filters {
  a = in | swish | concat(in) | shuffle(2)
  in | own(kernel, stride) | add(a)
}
network fuzzed {
  input image 8 x 32 x 32
  output classes 10
  granularity 1
  let w1 = {8, 16}
  stage s3 irb x 1 .. 3  { kernel 3  expand 1  hidden {0, 8}  norm identity } -> [8, 32] 
  head global_pool | linear
}
