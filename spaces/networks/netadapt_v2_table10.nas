nas 1

// NetAdaptV2, Table 10: the network found for depth estimation in 87 ms on a Pixel 1, starting from FastDepth. The
// table prints no additive skips. They are FastDepth's, and the widths of their two sides agree (192, 112, 48).
// Bypassing passes channels in four depthwise layers only, none of them strided (layers 2, 31, 34 and 40), so nothing
// of it is assumed. Layer 40 has 28 filters, which are not among the 9 widths from 0 to 64 that the text allows: with
// 24 or 32 in its place this would be a member of spaces/netadapt_v2_fastdepth.nas.
network netadapt_v2_table10 {
  input   image 3 x 224 x 224
  output  depth 1 x 224 x 224
  default { kernel 3  act relu  last_act relu  dw_bypass inf }
  default depthwise_separable { shortcut identity }

  stage enc0   conv                     { stride 2  bypass 16  }                        -> 24
  stage enc1   depthwise_separable      { bypass 16  dw 20  }                           -> 48
  stage enc2a  depthwise_separable      { stride 2  bypass 32   dw 48  }                -> 96
  stage enc2   depthwise_separable      { bypass 32  dw 96  }                           -> 112
  stage enc3a  depthwise_separable      { stride 2  bypass 64   dw 112 }                -> 256
  stage enc3   depthwise_separable      { bypass 64  dw 256 }                           -> 192
  stage enc4   depthwise_separable x 6  { stride 2  bypass 128 } {
    layer 1 { dw 192 } -> 448
    layer 2 { dw 448 } -> 448
    layer 3 { dw 448 } -> 384
    layer 4 { dw 384 } -> 512
    layer 5 { dw 512 } -> 384
    layer 6 { dw 384 } -> 448
  }
  stage enc5   depthwise_separable x 2  { stride 2  bypass 256 } {
    layer 1 { dw 448 } -> 384
    layer 2 { dw 384 } -> 768
  }
  stage dec1   up                       { kernel 5  bypass 256  dw 768 }                -> 384
  stage dec2   up                       { kernel 5  bypass 128  dw 320  lateral enc3 }  -> 192
  stage dec3   up                       { kernel 5  bypass 64   dw 160  lateral enc2 }  -> 112
  stage dec4   up                       { bypass 32  dw 112  lateral enc1 }             -> 48
  stage dec5   up                       { bypass 16  dw 28  }                           -> 24
  head         conv                     { kernel 1 } -> 1
}
