nas 1

// ViT-B/16 (Dosovitskiy et al. 2021, Table 1) for images of 224 x 224
network vit_b16 {
  input  image 3 x 224 x 224
  output classes 1000

  stage patches  patch_embed       { patch 16 }  -> 768
  stage start    class_token
  stage places   position
  stage body     transformer x 12  { heads 12  norm layer_norm { eps 1e-6 } }
  head           layer_norm(1e-6) | first_token | linear
}
