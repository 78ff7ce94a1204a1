space deep{input image 3x 16x 16
  output classes 10
  stage s conv x 1 .. 1000 { kernel {35} } -> 8
  head global_pool | linear
}