block own(kernel=3,gate=no,act=relu,ops=any of{conv{kernel 3}}by add)->filters{a=in
  b=in|conv2d()|mul()|residual()concat(in)|relu|squeeze_excite()|nothing when gate}block two(kernel=3,stride=1,gate,act=relu)->filters{a=in|conv2d()->filters|residual|relu
  add()}space fuzzed{input image 4x 32x 32output classes 10let w1=4let k3=3stage s1 any of{mbv3{kernel k3  expand 2  se_width 7  bypass inf  shortcut residual}}by concat x 2->w1 
  head global_pool|linear}