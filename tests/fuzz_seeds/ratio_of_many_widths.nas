space tiny_vit {
  input       image 1 x 28 x 28
  output      classes 10
  stage res4  bottleneck x 36  { stride 2  reduce 0 .. 256  mid 0 .. 256 }  -> 1 .. 1024
  stage body     transformer   { heads 1 .. 6  head_width 16  expand [0,
4] }
  head           layer_norm | first_token | linear
}