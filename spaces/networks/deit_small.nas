nas 1

// DeiT-S (Touvron et al. 2021, Table 1), without distillation token: a ViT of width 384
network deit_small {
  input  image 3 x 224 x 224
  output classes 1000

  stage patches  patch_embed       { patch 16 }  -> 384
  stage start    class_token
  stage places   position
  stage body     transformer x 12  { heads 6  norm layer_norm { eps 1e-6 } }
  head           layer_norm(1e-6) | first_token | linear
}
