space efficientnet_v2 {
  input       image 3 x 224 x 224
  output      classes 1000
  granularity 16
  skip        same_shape
  default     { act swish  norm bn { eps 1e-3 }  kernel {3, 5} }
  stage b4    irb       x 7   { stride 2  expand [1, 6]  se {0, 1} }  -> 128
  stage b5    irb       x 10  { expand [1, 8]  se {0, 1} }            -> 160
  stage b6    irb       x 16  { stride 2  expand [1, 8]  se {0, 1} }  -> 256
  head        conv            { kernel 1 .. 1024 } -> 1280 | global_pool | dropout(0.2) | linear
}
