nas 1

// FiGS on ResNet-152: as figs_resnet50.nas, with the depths 3, 8, 36, 3. Every convolution's width is free; a stage's
// width (the arrow) is one decision for the whole stage, because its layers are added to one another. A branch of
// width 0 is no branch: the layer is then its shortcut. The text prints neither the cost nor the strength of the
// regulariser for its ResNets: MACs and figs_resnet50's value are assumed.
space figs_resnet152 {
  input   image 3 x 224 x 224
  output  classes 1000
  default { act relu }

  stage stem  conv             { kernel 7  stride 2 }                       -> 1 .. 64
  stage pool  max_pool         { kernel 3  stride 2 }
  stage res2  bottleneck x 3   { reduce 0 .. 64  mid 0 .. 64 }              -> 1 .. 256  { layer 1 { project yes } }
  stage res3  bottleneck x 8   { stride 2  reduce 0 .. 128  mid 0 .. 128 }  -> 1 .. 512
  stage res4  bottleneck x 36  { stride 2  reduce 0 .. 256  mid 0 .. 256 }  -> 1 .. 1024
  stage res5  bottleneck x 3   { stride 2  reduce 0 .. 512  mid 0 .. 512 }  -> 1 .. 2048
  head        global_pool | linear
}

search figs { lambda 1e-9  cost macs }
