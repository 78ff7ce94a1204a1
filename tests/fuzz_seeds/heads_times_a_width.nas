space tiny_vit {
  input       image 1 x 28 x 28
  output      classes 10
  granularity 32
  stage patches  patch_embed      { patch 4 }                              -> 64
  stage body     transformer   { heads 1 .. 6  head_width 16  expand [0,
4] }
  head           layer_norm | first_token | linear
}