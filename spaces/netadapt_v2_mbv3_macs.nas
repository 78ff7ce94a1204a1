nas 1

// NetAdaptV2's initial network for the search guided by MACs, and everything it may shrink to: netadapt_v2_mbv3.nas
// with widths 1.25 times as large, one block more at 7 x 7, and 11 widths from 0 to full. Where 1.25 x 16 = 20 channels
// would be full the found network (Table 9) has 24, as if rounded to a multiple of 8, which 10 equal steps of whole
// channels do not divide: there, all even widths stand. Block 2 has no expansion, as in Table 9. What else is inferred
// or assumed is said in netadapt_v2_mbv3.nas.
space netadapt_v2_mbv3_macs {
  input   image 3 x 224 x 224
  output  classes 1000
  default { dw_bypass inf  shortcut residual_prefix }

  stage stem  conv  { kernel 3  stride 2  act hard_swish  bypass 8  shortcut identity }  -> 0 .. 24 step 2
  stage b2    depthwise_separable  { kernel 3 .. 5 step 2  act relu  bypass 8  dw 0 .. 24 step 2 }  -> 0 .. 24 step 2
  stage r56   mbv3 x 2  { kernel 3 .. 5 step 2  stride 2  act relu        bypass 16  } {
    layer 1 { hidden 0 .. 80 step 8    dw 0 .. 80 step 8    se 1  se_width 0 .. 24 step 2 } -> 0 .. 40 step 4
    layer 2 { hidden 0 .. 160 step 16  dw 0 .. 160 step 16                                } -> 0 .. 40 step 4
  }
  stage r28   mbv3 x 4  { kernel 3 .. 7 step 2  stride 2  act relu        bypass 32   se 1 } {
    layer 1 .. 4 { hidden 0 .. 160 step 16  dw 0 .. 160 step 16  se_width 0 .. 40 step 4 } -> 0 .. 80 step 8
  }
  stage r14   mbv3 x 7  { kernel 3 .. 5 step 2  stride 2  act hard_swish  bypass 64  } {
    layer 1      { hidden 0 .. 320 step 32  dw 0 .. 320 step 32  se 1  se_width 0 .. 80 step 8 } -> 0 .. 160 step 16
    layer 2      { hidden 0 .. 320 step 32  dw 0 .. 320 step 32                                } -> 0 .. 160 step 16
    layer 3 .. 4 { hidden 0 .. 320 step 32  dw 0 .. 320 step 32  se 1  se_width 0 .. 80 step 8 } -> 0 .. 160 step 16
    layer 5 .. 7 {
      hidden 0 .. 1280 step 128  dw 0 .. 1280 step 128  se 1  se_width 0 .. 320 step 32
    } -> 0 .. 160 step 16
  }
  stage r7    mbv3 x 4  { kernel 3 .. 7 step 2  stride 2  act hard_swish  bypass 128  se 1 } {
    layer 1 .. 4 { hidden 0 .. 1280 step 128  dw 0 .. 1280 step 128  se_width 0 .. 320 step 32 } -> 0 .. 320 step 32
  }
  head        conv { kernel 1  act hard_swish  bypass 128 } -> 0 .. 1280 step 128 | global_pool
            | conv { kernel 1  act hard_swish  bypass 1024  norm identity } -> 0 .. 2560 step 256 | dropout(0.2)
            | linear
}

search netadapt_v2 { samples 200  layers 15  reduction 0.025  decay 0.98  limit_macs 314e6 }
