space fuzzed{input image 8x 32x 32output features s1
  let k3=3stage s1 all of{depthwise_separable{kernel k3  dw 4..16 step 4  dw_bypass inf  norm bn}}->{8}}