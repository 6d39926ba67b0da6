/usr/bin/convert -size 64x64 gradient:red-blue -rotate 90 -resize 50% a.png
/usr/bin/convert a.png -crop 1x1+0+0 +repage -depth 8 rgb:- | wc --bytes | grep -qx 3
/usr/bin/identify -format %wx%h a.png | grep -qx 32x32
# What does not fit into memory goes to files in the folder for temporary ones.
/usr/bin/convert -limit memory 64KiB -limit map 64KiB -size 512x512 plasma:fractal -blur 0x2 b.png
test -s b.png
