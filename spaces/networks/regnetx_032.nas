nas 1

// RegNetX-3.2GF (Radosavovic et al. 2020).
network regnetx_032 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv         { kernel 3  stride 2 }        -> 32
  stage s1    regnet x 2   { stride 2  group_width 48 }  -> 96
  stage s2    regnet x 6   { stride 2  group_width 48 }  -> 192
  stage s3    regnet x 15  { stride 2  group_width 48 }  -> 432
  stage s4    regnet x 2   { stride 2  group_width 48 }  -> 1008
  head        global_pool | linear
}
