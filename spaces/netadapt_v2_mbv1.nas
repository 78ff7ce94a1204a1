nas 1

// NetAdaptV2's initial network of its ablation on ImageNet (section 4.1.4 and appendix D), MobileNetV1 1.0, and
// everything it may shrink to: 9 widths from 0 to full. "Different odd kernel sizes from 3 to the full kernel size"
// leaves one, as MobileNetV1's kernels are 3. T is not printed for MobileNetV1: it is taken from Table 10, whose
// encoder is the same network. Assumed: ReLU, as in MobileNetV1's paper; bypassed channels of a strided layer are
// average-pooled. Table 3 and the first row of Table 11 search without bypass (`bypass 0  dw_bypass 0`).
space netadapt_v2_mbv1 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { kernel 3  act relu  last_act relu  dw_bypass inf  shortcut identity }

  stage stem  conv                     { stride 2  bypass 16  }          -> 0 .. 32 step 4
  stage s112  depthwise_separable      { bypass 16  dw 0 .. 32 step 4 }  -> 0 .. 64 step 8
  stage s56   depthwise_separable x 2  { stride 2  bypass 32  } {
    layer 1 { dw 0 .. 64 step 8   } -> 0 .. 128 step 16
    layer 2 { dw 0 .. 128 step 16 } -> 0 .. 128 step 16
  }
  stage s28   depthwise_separable x 2  { stride 2  bypass 64  } {
    layer 1 { dw 0 .. 128 step 16 } -> 0 .. 256 step 32
    layer 2 { dw 0 .. 256 step 32 } -> 0 .. 256 step 32
  }
  stage s14   depthwise_separable x 6  { stride 2  bypass 128 } {
    layer 1      { dw 0 .. 256 step 32 } -> 0 .. 512 step 64
    layer 2 .. 6 { dw 0 .. 512 step 64 } -> 0 .. 512 step 64
  }
  stage s7    depthwise_separable x 2  { stride 2  bypass 256 } {
    layer 1 { dw 0 .. 512 step 64   } -> 0 .. 1024 step 128
    layer 2 { dw 0 .. 1024 step 128 } -> 0 .. 1024 step 128
  }
  head        global_pool | linear
}

// The ablation's found networks take about 6.5 ms on a Pixel 1.
search netadapt_v2 { samples 27  layers 4  reduction 0.03  decay 0.98  limit_ms 6.5 }
