nas 1

// EfficientNetV2-S (Tan and Le 2021) at the size it is evaluated at, with symmetric padding.
network efficientnet_v2_s {
  input   image 3 x 384 x 384
  output  classes 1000
  default { act swish  norm bn { eps 1e-3 } }

  stage stem  conv            { kernel 3  stride 2          }                  -> 24
  stage b1    conv      x 2   { kernel 3  shortcut residual }                  -> 24
  stage b2    fused_irb x 4   { kernel 3  stride 2           expand 4 }        -> 48
  stage b3    fused_irb x 4   { kernel 3  stride 2           expand 4 }        -> 64
  stage b4    irb       x 6   { kernel 3  stride 2           expand 4  se 1 }  -> 128
  stage b5    irb       x 9   { kernel 3                     expand 6  se 1 }  -> 160
  stage b6    irb       x 15  { kernel 3  stride 2           expand 6  se 1 }  -> 256
  head        conv            { kernel 1 } -> 1280 | global_pool | dropout(0.2) | linear
}
