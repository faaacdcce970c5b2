local size, epoch = tree_state(ARGS.tree)
return {size, epoch or '0'}
