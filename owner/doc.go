package owner
