space fuzzed{input image 8x 32x 32output features s1
  let k3=3stage s1 all of{depthwise_separable{kernel k3  dw 8..32step 8  dw_bypass inf  norm bn}}->{8}}