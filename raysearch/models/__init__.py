"""The methods: pure functions and modules that need torch alone and can be lifted out of the package.

`backbones`, few-shot networks and heads, HelixFormer, LWFM-SPM, FCAENet, and the hashing methods in `hashing`.
"""
