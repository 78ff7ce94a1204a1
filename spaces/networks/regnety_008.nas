nas 1

// RegNetY-800MF (Radosavovic et al. 2020).
network regnety_008 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv        { kernel 3  stride 2 }              -> 32
  stage s1    regnet x 1  { stride 2  group_width 16  se 1 }  -> 64
  stage s2    regnet x 3  { stride 2  group_width 16  se 1 }  -> 128
  stage s3    regnet x 8  { stride 2  group_width 16  se 1 }  -> 320
  stage s4    regnet x 2  { stride 2  group_width 16  se 1 }  -> 768
  head        global_pool | linear
}
