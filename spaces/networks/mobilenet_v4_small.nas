nas 1

// MobileNetV4-Conv-S (Qin et al. 2024), as `nasc import` makes it from timm's block strings.
network mobilenet_v4_small {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv      { kernel 3  stride 2 }  -> 32
  stage b1    conv x 2  { stride 2 }            -> 32  {
    layer 1 { kernel 3 }
    layer 2 { kernel 1 }
  }
  stage b2_1  conv      { kernel 3  stride 2 }  -> 96
  stage b2_2  conv      { kernel 1 }            -> 64
  stage b3    uib  x 6  { stride 2 }            -> 96  {
    layer 1      { start 5  kernel 5  expand 3 }
    layer 2 .. 5 { kernel 3  expand 2 }
    layer 6      { start 3            expand 4 }
  }
  stage b4    uib  x 6  { stride 2 }            -> 128 {
    layer 1      { start 3  kernel 3  expand 6 }
    layer 2      { start 5  kernel 5  expand 4 }
    layer 3      { kernel 5  expand 4 }
    layer 4      { kernel 5  expand 3 }
    layer 5 .. 6 { kernel 3  expand 4 }
  }
  stage b5    conv      { kernel 1 }            -> 960
  head        global_pool | conv { kernel 1 } -> 1280 | linear
}
