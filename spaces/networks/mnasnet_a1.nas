nas 1

// MnasNet-A1 (Tan et al. 2019). Gates are a quarter of a block's input wide, as in the public code.
network mnasnet_a1 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv                     { kernel 3  stride 2 }                  -> 32
  stage b1    depthwise_separable      { kernel 3 }                            -> 16
  stage b2    irb                 x 2  { kernel 3  stride 2  expand 6 }        -> 24
  stage b3    irb                 x 3  { kernel 5  stride 2  expand 3  se 1 }  -> 40
  stage b4    irb                 x 4  { kernel 3  stride 2  expand 6 }        -> 80
  stage b5    irb                 x 2  { kernel 3            expand 6  se 1 }  -> 112
  stage b6    irb                 x 3  { kernel 5  stride 2  expand 6  se 1 }  -> 160
  stage b7    irb                      { kernel 3            expand 6 }        -> 320
  head        conv                     { kernel 1 } -> 1280 | global_pool | dropout(0.2) | linear
}
