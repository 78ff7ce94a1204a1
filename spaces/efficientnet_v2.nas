nas 1

// Around EfficientNetV2-S, for 224 x 224 images: in every layer the kernel, the width of the expansion, and
// whether the layer is there; in the last three stages also whether there is a gate. Depths go up to one more than S's.
space efficientnet_v2 {
  input       image 3 x 224 x 224
  output      classes 1000
  granularity 16
  skip        same_shape
  default     { act swish  norm bn { eps 1e-3 }  kernel {3, 5} }

  stage stem  conv            { kernel 3  stride 2          }         -> 24
  stage b1    conv      x 3   { kernel 3  shortcut residual }         -> 24
  stage b2    fused_irb x 5   { stride 2  expand [1, 6] }             -> 48
  stage b3    fused_irb x 5   { stride 2  expand [1, 6] }             -> 64
  stage b4    irb       x 7   { stride 2  expand [1, 6]  se {0, 1} }  -> 128
  stage b5    irb       x 10  { expand [1, 8]  se {0, 1} }            -> 160
  stage b6    irb       x 16  { stride 2  expand [1, 8]  se {0, 1} }  -> 256
  head        conv            { kernel 1 } -> 1280 | global_pool | dropout(0.2) | linear
}

search prunet { epochs 90  warmup 30  threshold 0.1 .. 0.55 }
