space deep {
  input image 3 x 16 x 16
  output classes 10
  stage s one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { one of { relu } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } } }
  head global_pool | linear
}
