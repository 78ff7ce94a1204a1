nas 1

// NetAdaptV2, Table 9: the network found for 314M MACs, a member of spaces/netadapt_v2_mbv3_macs.nas. As read here it
// has 311.3M. Every width lies on the grid of tenths of the full width, 1.25 times Table 8's space's, where 24 in the
// place of 1.25 x 16 = 20 is full (layers 1 to 3). Layer 2 has no expansion (a dash in the table), and blocks 7, 8, 12
// and 15 are removed. Assumed, as in Table 8: a stride-1 block keeps its input's further channels (residual_prefix).
// Bypassing passes channels in two strided layers (blocks 3 and 16), where they are average-pooled: an assumption too.
network netadapt_v2_table9 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { dw_bypass inf  shortcut residual_prefix }

  stage stem  conv                     { kernel 3  stride 2  act hard_swish  bypass 8  shortcut identity }  -> 24
  stage b2    depthwise_separable      { kernel 3            act relu        bypass 8  dw 24             }  -> 24
  stage r56   mbv3                x 2  { stride 2  act relu        bypass 16  } {
    layer 1 { kernel 5  hidden 64   dw 48  se 1  se_width 24 } -> 32
    layer 2 { kernel 3  hidden 128  dw 64                    } -> 32
  }
  stage r28   mbv3                x 4  { stride 2  act relu        bypass 32   se 1  se_width 40  } {
    layer 1      { kernel 5  hidden 96   dw 96 } -> 48
    layer 2      { kernel 3  hidden 128  dw 80 } -> 56
    layer 3 .. 4 identity
  }
  stage r14   mbv3                x 7  { stride 2  act hard_swish  bypass 64  } {
    layer 1 { kernel 5  hidden 224  dw 224  se 1  se_width 80  } -> 96
    layer 2 { kernel 3  hidden 224  dw 96                      } -> 96
    layer 3 { kernel 3  hidden 256  dw 256  se 1  se_width 80  } -> 96
    layer 4 identity
    layer 5 { kernel 5  hidden 640  dw 640  se 1  se_width 320 } -> 144
    layer 6 { kernel 3  hidden 640  dw 512  se 1  se_width 320 } -> 144
    layer 7 identity
  }
  stage r7    mbv3                x 4  { stride 2  act hard_swish  bypass 128  se 1  se_width 320 }         -> 192 {
    layer 1 { kernel 5  hidden 768   dw 640  }
    layer 2 { kernel 5  hidden 768   dw 256  }
    layer 3 { kernel 7  hidden 896   dw 768  }
    layer 4 { kernel 7  hidden 1152  dw 1152 }
  }
  head        conv { kernel 1  act hard_swish  bypass 128 } -> 1152 | global_pool
            | conv { kernel 1  act hard_swish  bypass 1024  norm identity } -> 2048 | dropout(0.2) | linear
}
