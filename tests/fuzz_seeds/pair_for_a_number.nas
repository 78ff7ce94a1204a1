network deit_tiny{input  image 3x 224x 224output classes 1000stage patches  patch_embed{patch 16}->192head           layer_norm(0x 0)|first_token|linear}
