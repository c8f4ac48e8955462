"""Names that cells use: what PIL, OpenCV, NumPy, skimage and matplotlib call things."""

PICTURE_MODULES = frozenset(
    {"cv2", "skimage", "pytesseract", "imagehash", "easyocr", "pyzbar"}
    | {"ImageOps", "ImageEnhance", "ImageFilter", "ImageChops", "ImageStat"}
)
"""Modules whose functions work on pictures; `ImageDraw` is apart."""
MODULES = PICTURE_MODULES | frozenset(
    {"np", "numpy", "plt", "matplotlib", "pd", "math", "sp", "sympy", "sns", "torch", "scipy"}
    | {"T", "F", "TF", "transforms", "torchvision", "Image", "ImageDraw", "ImageFont", "io", "os"}
    | {"sys", "re", "json", "time", "random", "statistics", "itertools", "datetime", "mpimg"}
)
"""Names that are modules even where an earlier cell has imported them."""

CROPPING = frozenset(
    {"crop", "center_crop", "CenterCrop", "resized_crop", "five_crop", "getRectSubPix"}
    | {"crop_to_bounding_box", "central_crop", "crop_and_resize"}
)
SPLITTING = frozenset({"array_split", "hsplit", "vsplit"})

DRAWING = frozenset(
    {"putText", "drawContours", "drawMarker", "drawKeypoints", "drawMatches", "arrowedLine"}
    | {"polylines", "fillPoly", "fillConvexPoly", "putpixel", "mark_boundaries", "label2rgb"}
    | {"draw_bounding_boxes", "draw_segmentation_masks", "draw_keypoints", "floodfill"}
)
"""Drawing, whatever is drawn on."""
SHAPES = frozenset(
    {"rectangle", "rounded_rectangle", "ellipse", "polygon", "arc", "chord", "pieslice"}
    | {"circle", "line", "regular_polygon"}
)
"""Drawing, where a picture, a pen or `cv2` is at hand."""
PEN_NAMES = frozenset({"draw", "d", "pen", "drawer", "drawing", "ctx"})
PEN_MEASURES = frozenset({"textbbox", "textsize", "textlength", "multiline_textbbox"})
PLOT_MARKS = frozenset(
    {"plot", "scatter", "annotate", "text", "add_patch", "add_artist", "arrow", "fill"}
    | {"axvline", "axhline", "hlines", "vlines", "axvspan", "axhspan", "contour", "add_line"}
    | {"add_collection", "quiver", "fill_between", "errorbar"}
)
"""Drawing, where the axes show a picture."""

PICTURE_METHODS = frozenset(
    {"resize", "rotate", "transpose", "convert", "enhance", "thumbnail", "quantize", "filter"}
    | {"point", "reduce", "paste", "effect_spread", "alpha_composite", "putalpha", "transform"}
    | {"clip", "astype", "flip", "flipud", "fliplr", "rot90", "pad", "invert", "blend", "repeat"}
    | {"expand", "contain", "fit", "grayscale", "autocontrast", "equalize", "cvtColor", "mirror"}
    | {"GaussianBlur", "warpAffine", "warpPerspective", "addWeighted", "threshold", "hstack"}
    | {"vstack", "concatenate", "swapaxes", "permute", "squeeze", "unsqueeze"}
)
"""What gives a picture again."""
ONLY_OF_PICTURES = frozenset(
    {"resize", "rotate", "convert", "enhance", "thumbnail", "getpixel", "quantize", "histogram"}
    | {"getcolors", "getdata", "getbbox", "getextrema", "getexif"}
)
"""Methods that of what an earlier cell has left only pictures have."""
EXTENTS = frozenset({"size", "width", "height", "shape"})
MEASURES = frozenset({"mode", "format", "info", "dtype", "T", "ndim", "nbytes"})

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
OPENING = frozenset({"imread", "open", "read_image", "load_img"})
MAKING = frozenset({"new", "frombytes", "frombuffer"})
CONVERTING = frozenset(
    {"array", "asarray", "fromarray", "ascontiguousarray", "uint8", "copy", "deepcopy", "BytesIO"}
    | {"ToTensor", "to_tensor", "pil_to_tensor", "PILToTensor", "ToPILImage", "to_pil_image"}
    | {"getvalue", "read", "seek", "load", "numpy", "cpu", "detach", "list", "tuple", "iter"}
    | {"next", "items", "values", "keys", "get", "append", "extend", "enumerate", "zip", "range"}
    | {"b64encode", "b64decode", "reversed", "isinstance", "hasattr", "dict", "img_as_ubyte"}
    | {"img_as_float", "verify"}
)
"""What gives back what it is given, in another form or one by one."""
SHOWING = frozenset(
    {"show", "display", "print", "save", "savefig", "imwrite", "imsave", "pprint", "write"}
)
"""What brings something to the eye or to a file."""
FRAMING = frozenset(
    {"figure", "subplots", "subplot", "add_subplot", "add_axes", "axis", "axes", "gca", "gcf"}
    | {"title", "suptitle", "tight_layout", "subplots_adjust", "colorbar", "legend", "grid"}
    | {"xlabel", "ylabel", "xlim", "ylim", "xticks", "yticks", "close", "clf", "cla", "waitKey"}
    | {"namedWindow", "destroyAllWindows", "invert_yaxis", "tick_params", "margins", "clear_output"}
    | {"setLevel", "use"}
)
"""What arranges a figure; nothing is computed for its sake."""
FRESH_FIGURE = frozenset({"figure", "subplots", "subplot", "close", "clf", "show"})
IDLE = frozenset(
    {"sleep", "filterwarnings", "simplefilter", "seed", "exit", "join", "strip", "format", "str"}
    | {"set_printoptions", "set_option", "super", "object", "slice", "use_backend"}
    | {"info", "debug", "warning", "getLogger", "input", "flush", "load_default", "truetype"}
    | {"basicConfig", "collect"}
)
"""What computes nothing to speak of."""
