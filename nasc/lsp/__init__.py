"""The language server: what editors show of `.nas` files while they are written (`nasc lsp`).

`server` speaks the Language Server Protocol with pygls; all else answers questions about one `document`.
"""
