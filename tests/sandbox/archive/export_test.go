package archive

// DecodeChunks for the fuzz test.
var DecodeChunks = decodeChunks
