nas 1

// MobileNetV2 1.0 (Sandler et al. 2018).
network mobilenet_v2 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { kernel 3  act relu6 }

  stage stem  conv                     { stride 2 }            -> 32
  stage b1    depthwise_separable                              -> 16
  stage b2    irb                 x 2  { stride 2  expand 6 }  -> 24
  stage b3    irb                 x 3  { stride 2  expand 6 }  -> 32
  stage b4    irb                 x 4  { stride 2  expand 6 }  -> 64
  stage b5    irb                 x 3  { expand 6 }            -> 96
  stage b6    irb                 x 3  { stride 2  expand 6 }  -> 160
  stage b7    irb                      { expand 6 }            -> 320
  head        conv                     { kernel 1 } -> 1280 | global_pool | dropout(0.2) | linear
}
