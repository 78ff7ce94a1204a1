nas 1

// ResNet-18 (He et al. 2016).
network resnet18 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv          { kernel 7  stride 2 }  -> 64
  stage pool  max_pool      { kernel 3  stride 2 }
  stage res2  basic    x 2                          -> 64
  stage res3  basic    x 2  { stride 2 }            -> 128
  stage res4  basic    x 2  { stride 2 }            -> 256
  stage res5  basic    x 2  { stride 2 }            -> 512
  head        global_pool | linear
}
