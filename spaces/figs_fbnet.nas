nas 1

// FiGS-FBNet (FiGS, section 3.3 and appendix): FBNet without group convolutions. The expansions 1, 3 and 6 of one
// kernel are one operator whose hidden width is free up to the widest, so each layer has two: kernels 3 and 5, and any
// of them survive. Their outputs are added, and the layer's input is added once where FBNet has a residual, so layers
// joined by additions share the stage's width. Left open by the text:
//  - Whether the additive skip runs once around the operators, as here, or in each, which would count the input twice.
//  - FBNet's "skip" operator. Here a layer with the additive skip and no surviving operator is that skip alone, so it
//    needs none; in the others (each stage's first but tbs1's) one operator or both survive.
//  - Widths wider than FBNet's. Here the widest are FBNet's, and 6 times the input's for a hidden width.
//  - Where the concat aggregator stands on FBNet. The additive one, better here for FLOPs, is written down.

// Two inverted residuals, any of which survive, added; `full` is their widest hidden width.
block figs_tbs(full, first stride = 1, act = relu, shortcut = residual,
               ops = any of {
                 irb { kernel 3  hidden 1 .. full  shortcut identity }
                 irb { kernel 5  hidden 1 .. full  shortcut identity }
               } by add) -> filters {
  in | ops(stride = stride, act = act) -> filters | shortcut
}

space figs_fbnet {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  // tbs1 adds its input, the stem's output: one width for both.
  let w1 = 1 .. 16

  stage stem  conv          { kernel 3  stride 2 }            -> w1
  stage tbs1  figs_tbs      { full 96   }                     -> w1
  stage tbs2  figs_tbs x 4  { full 144   stride 2          }  -> 1 .. 24  { layer 1 { full 96  shortcut identity } }
  stage tbs3  figs_tbs x 4  { full 192   stride 2          }  -> 1 .. 32  { layer 1 { full 144  shortcut identity } }
  stage tbs4  figs_tbs x 4  { full 384   stride 2          }  -> 1 .. 64  { layer 1 { full 192  shortcut identity } }
  stage tbs5  figs_tbs x 4  { full 672  }                     -> 1 .. 112 { layer 1 { full 384  shortcut identity } }
  stage tbs6  figs_tbs x 4  { full 1104  stride 2          }  -> 1 .. 184 { layer 1 { full 672  shortcut identity } }
  stage tbs7  figs_tbs      { full 1104  shortcut identity }  -> 1 .. 352
  head        conv          { kernel 1 } -> 1 .. 1984 | global_pool | linear
}

// The two strengths are those of FiGS-FBNet-B and -C.
search figs { lambda {2e-9, 1.3e-9}  cost macs  tau 0.001 }
