check_lease()
cut_tree(ARGS.tree, tonumber(ARGS.size))
return 1
