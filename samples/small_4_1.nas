nas 1

// drawn from small with seed 4
network small {
  input  image 4 x 8 x 8
  output classes 3

  stage s  conv  { kernel 3 }  -> 8
  stage a  conv  { kernel 3 }  -> 8
  head     global_pool | linear
}
