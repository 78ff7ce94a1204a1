nas 1

// Small vision transformers for 28 x 28 pictures such as Fashion-MNIST's: the heads and the feed-forward width of each
// layer. Both are searched by one method run on a CPU; `vit.nas` is the space of real sizes.
space tiny_vit {
  input       image 1 x 28 x 28
  output      classes 10
  granularity 32

  stage patches  patch_embed      { patch 4 }  -> 64
  stage start    class_token
  stage places   position
  stage body     transformer x 4  { heads 1 .. 6  head_width 16  expand [0, 4] }
  head           layer_norm | first_token | linear
}

search prunet { epochs 12  warmup 4  batch 64  threshold 0.3 .. 0.55 }

target cpu { engine onnxruntime  batch 1 }
